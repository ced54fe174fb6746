"""Teacher, student, losses and step once more, in plain PyTorch, to compare with.

Written from the published formulas and not from the JAX code: maps are [B, C, H, W],
and every module has the name that it has in the Flax parameter tree, so that weights
and intermediate results can be compared one by one. Readable before quick, float32,
no device handling. A configuration is that of `ganiqa_jax.config`, which imports
neither framework; nothing else of that package is used.

    network, card = load_network("student.safetensors")   # `ganiqa convert MODEL FILE`
    z = network(pictures).z                               # [B, 3, S, S] in [0, 1]
    score = card.scale.to_score(z.detach().numpy())
"""
