"""R-FCN: region proposals and position-sensitive voting (Dai et al. 2016)."""
