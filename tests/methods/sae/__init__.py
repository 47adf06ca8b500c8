"""Tests of `dnd_assets/methods/sae`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "activation_functions": "methods/sae/test_codes.py",
    "coded_layout": "lineage/test_code.py",
    "dictionary_learning": "methods/sae/test_codes.py",
    "encoder": "methods/sae/test_codes.py",
    "layouts": "methods/sae/test_codes.py",
    "overcomplete": "methods/sae/test_codes.py",
    "saelens": "methods/sae/test_codes.py",
    "saev": "methods/sae/test_codes.py",
    "saved": "methods/sae/test_codes.py",
    "sparsify": "methods/sae/test_codes.py",
    "vit_prisma": "methods/sae/test_codes.py",
}
"""Where modules without a test file of their name are tested."""
