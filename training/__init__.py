"""How generators were trained: recipes, not a part of the package `ilo`, which never trains anything.

python -m training.faces32 --out data/weights/stylegan2-faces32.safetensors
python -m training.searchable --portraits portraits128.zip --out runs/training/searchable64.safetensors
"""
