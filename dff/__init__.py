"""Deep Feature Flow for video recognition (Zhu et al., CVPR 2017)."""

__version__ = "0.1.0"
