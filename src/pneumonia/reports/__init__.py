"""Pages, figures and the model card, made from files that the stages wrote.

Before `register`, only the stage `visualize` needs this package. A change here therefore starts no
training and no scoring. Begin with `page` (how a page is built) and `results` (the files of
`evaluate`). `data_page`, `evaluation_page`, `gradcam_page` and `model_card` each write one page.

May import explain, evaluation, models, inference, audit, datasets, stats, images and core.
"""
