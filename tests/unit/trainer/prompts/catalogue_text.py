"""Answers as a small catalogue has them."""

CATALOGUE = [
    f"Product: {colour} {kind}, Category: {kind.upper()}S, Full Price: {price}.00"
    for price, colour in enumerate(["Red", "Blue", "Green", "Striped"], start=190)
    for kind in ["Coat", "Scarf", "Trench", "Jacket"]
]
