"""The tiny world's SAEs: their recipe, what is known of every token, and the shipped folders.

A folder beside this file that holds a `cfg.json` is an SAE (`whence.tiny.where.sae_folders`).
"""
