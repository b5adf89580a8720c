"""What every kind of job has in common: pods, names, and the objects around the job."""
