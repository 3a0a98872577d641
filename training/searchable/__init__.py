"""A generator trained for recovery: every layer is to be searched, on photographs that anyone may use.

RTIL (TMLR 2023) trains a generator so that the search of its intermediate layers finds images; GLO (Bojanowski et al.
2018) trains a generator by codes that are searched for, without an adversary. Here the searches of training are
replaced by an encoder, which guesses what they would find: a latent, and deviations at the inputs of layers 1 and 2,
inside l1 balls. A third of the images are drawn from the latent alone, a third with a deviation at layer 1, a third
with both.
"""
