"""CLIP-Dissect (Oikarinen and Weng, ICLR 2023): similarity functions and what is made of them."""
