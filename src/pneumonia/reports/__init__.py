"""Pages, figures and the model card, made from files that the stages wrote.

No stage before `register` needs this package but `visualize`, so a change here runs no training and
no scoring. Begin with `page` (how a page is built) and `results` (what `evaluate` wrote); each of
`data_page`, `evaluation_page`, `gradcam_page` and `model_card` writes one page.

May import explain, evaluation, models, inference, audit, datasets, stats, images and core.
"""
