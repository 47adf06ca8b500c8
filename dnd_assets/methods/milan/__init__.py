"""MILAN (Hernandez et al., ICLR 2022): mutual information of captions and images."""
