"""The file `gnm_head.npz` of GNM Head 3.0, which anyone may download: where it is and what it must be.

Standard library only, so that a bare Python can fetch it. Google gives the model out on Hugging Face; the address names
one commit, so what is behind it cannot change. Size and checksum belong to that file: the one that lay in Google's
GitHub repository at first packs the same model into other bytes, and is read as well.
"""

from .downloads import KnownFile

PAGE = "https://huggingface.co/google/gnm-v3"
COMMIT = "c01e90d298d82301f9fd18f54806be751775cb7c"

GNM_FILE = KnownFile(
    title="GNM Head",
    name="gnm_head.npz",
    source=f"{PAGE}/resolve/{COMMIT}/v3_0/gnm_head.npz",
    size=53_328_601,
    sha256="61d78bbfb4ad8e0b38495804a4caef3214d3df00f8c3f68761e63b41ce3747eb",
    licence="Apache-2.0, by Google (GNM Head, version 3.0)",
)
