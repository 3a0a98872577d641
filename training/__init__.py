"""How the weights in data/weights were made: recipes, not a part of the package `ilo`, which never trains anything.

python -m training --out data/weights/stylegan2-faces32.safetensors
"""
