# The trainer image. Both stages stand on one base; the last holds no compiler, no package cache and no root.
#   BASE_IMAGE  any image with glibc and Python 3.11 with venv
#   PIP_CERT    path of a CA bundle mounted into the build, for a proxy that inspects TLS
#   REVISION    the commit it is built from; `make image` says it
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS dependencies
ARG PIP_CERT=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python3 -m venv /opt/phi3k
# Gigabytes that change rarely: a layer of its own, keyed by the lock and its installer alone. pip reads PIP_CERT.
COPY scripts/install-locked requirements.lock ./
RUN ./install-locked /opt/phi3k/bin/python requirements.lock

FROM dependencies AS package
# Docker hands arguments down to a stage that stands on this one; buildah does not.
ARG PIP_CERT=""
COPY requirements-build.lock requirements-image.lock ./
RUN python3 -m venv /build/tools \
    && ./install-locked /build/tools/bin/python requirements-build.lock requirements-image.lock \
    && /build/tools/bin/python -m pip check
COPY pyproject.toml README.md LICENSE ./
COPY cli cli
COPY jobs jobs
COPY trainer trainer
COPY recipes recipes
RUN /build/tools/bin/hatchling build --target wheel --directory dist \
    && /opt/phi3k/bin/python -m pip install --quiet --no-deps --no-index dist/*.whl \
    && /opt/phi3k/bin/python -m pip check \
    && /opt/phi3k/bin/python -m pip install --quiet --no-deps --no-index --ignore-installed --prefix /install dist/*.whl \
    && /build/tools/bin/cyclonedx-py environment --output-format JSON \
    --output-file /install/sbom.cdx.json /opt/phi3k/bin/python

# For a release, which publishes it beside the image: build --target sbom --output type=local,dest=DIRECTORY
FROM scratch AS sbom
COPY --from=package /install/sbom.cdx.json /

FROM ${BASE_IMAGE}
# torch asks the passwd database for the user's name.
RUN echo "phi3k:x:10001:10001:phi3k:/home/phi3k:/usr/sbin/nologin" >> /etc/passwd \
    && echo "phi3k:x:10001:" >> /etc/group \
    && mkdir --parents /home/phi3k && chown 10001:10001 /home/phi3k
COPY --from=dependencies /opt/phi3k /opt/phi3k
COPY --from=package /install /opt/phi3k
# The readiness probe: a program that imports nothing of phi3k.
COPY trainer/phi3k_trainer/replica/health_check.py /opt/phi3k/health_check.py
ENV PATH=/opt/phi3k/bin:${PATH} \
    HOME=/home/phi3k \
    USER=phi3k \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /home/phi3k
ENTRYPOINT ["/opt/phi3k/bin/phi3k"]
CMD ["doctor"]
# Last, so that another commit alone changes no layer.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="phi3k" \
    org.opencontainers.image.description="Fine-tunes Phi-3-Vision from one typed recipe" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
ENV PHI3K_REVISION=${REVISION}
