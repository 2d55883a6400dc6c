"""What the generator draws for some seeds and names, also far into a tensor."""

import philox
from golden_file import values


def draws() -> list[dict]:
    cases = []
    for seed, name in [(0, "w"), (1234, "layers.3.attention.qkv.weight.q"), (2**40 + 5, "Wörter"), (2**32 - 1, "")]:
        for start in (0, 3, 2**34 + 1):
            cases.append(
                {
                    "seed": seed,
                    "name": name,
                    "key": list(philox.key_of(seed, name)),
                    "start": start,
                    "uniform": values(philox.uniform(seed, name, (11,), -1.0, 3.0, start)),
                    "normal": values(philox.normal(seed, name, (11,), 0.5, 2.0, start)),
                }
            )
    return cases
