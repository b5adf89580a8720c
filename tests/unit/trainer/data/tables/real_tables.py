"""A product table that our generator did not make: other words, prices log-normal by category, flaws of real data."""

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

# category1, category2, category3, share, median price
CATEGORIES = (
    ("APPAREL", "OUTERWEAR", "QUILTED JACKETS", 0.30, 1500.0),
    ("APPAREL", "TOPS", "POLO SHIRTS", 0.40, 420.0),
    ("LEATHER GOODS", "WALLETS", "CARD CASES", 0.20, 260.0),
    ("SHOES", "SNEAKERS", "SNEAKERS", 0.098, 690.0),
    ("SPECIAL", "ATELIER", "ONE OF A KIND", 0.002, 25000.0),
)
WORDS = ("Vellum", "Quartz", "Meridian", "Harbour", "Thistle", "Ember", "Lattice", "Orchard", "Sable", "Zephyr")


def real_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    rows = []
    for index in range(count):
        one, two, three, _, median = rng.choices(CATEGORIES, weights=[category[3] for category in CATEGORIES])[0]
        full = round(median * rng.lognormvariate(0, 0.35) / 10) * 10.0
        discounted = rng.random() < 0.2
        price = round(full * rng.choice((0.5, 0.7))) if discounted else full
        words = rng.sample(WORDS, rng.randint(2, 5))
        rows.append(
            {
                "website_name": "Veritable Maison",
                "currency_code": "GBP",
                "brand": "VERITABLE",
                "category1_code": one,
                "category2_code": two if rng.random() > 0.04 else "N.A.",
                "category3_code": three,
                "product_code": 40_000_003 + index * 11,
                "title": " ".join(words) + f" {three.title()}",
                "itemurl": f"https://real.example/{index}-{rng.randrange(10**9)}",
                "imageurl": f"https://img.real.example/is/{rng.randrange(10**12):012d}",
                "full_price": full,
                "price": float(price),
                "price_eur": round(price * 1.17, 2) if rng.random() > 0.1 else None,
                "stock": rng.randrange(500),
                "flg_discount": int(discounted),
            }
        )
    return rows


def write_real(path: Path, count: int = 3000, seed: int = 0) -> Path:
    pq.write_table(pa.Table.from_pylist(real_rows(count, seed)), path)
    return path
