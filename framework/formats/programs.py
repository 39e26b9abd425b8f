"""Whose code a pickle asks for, by the module that it names; for complaints, never for trust."""

_SAVED_WHOLE = "a module saved whole with its code; only its program can save its state_dict()"
_BEGINNINGS = {
    "training.networks_fastgan": "a FastGAN as Projected GAN and StyleGAN-XL save it",
    "pg_modules.networks_fastgan": "a FastGAN of Projected GAN's",
    "pg_modules.": "a Projected GAN or StyleGAN-XL",
    "training.networks_stylegan3": "a StyleGAN3 or StyleGAN-XL",
    "training.triplane": "an EG3D",
    "training.volumetric_rendering": "an EG3D",
    "feature_networks.": "a StyleGAN-XL",
    "legacy.": "a network of NVIDIA's, saved otherwise than by its program",
    "mmgen.": "a model of mmgeneration's",
    "mmcv.": "a checkpoint of OpenMMLab's, such as mmgeneration's",
    "mmengine.": "a checkpoint of OpenMMLab's, such as mmagic's",
    "stylegan2_pytorch.": "a model of lucidrains' stylegan2-pytorch",
    "diffusers.": "a model of diffusers'",
    "transformers.": "a model of transformers'",
    "tensorflow.": "a model of TensorFlow's",
    "keras.": "a model of Keras",
    "sklearn.": "a model of scikit-learn's",
    "joblib.": "a file of joblib's",
    "pandas.": "a table of pandas'",
    "PIL.": "a picture",
    "cv2.": "data of OpenCV's",
    "omegaconf.": "settings of OmegaConf's",
    "pytorch_lightning.": "a checkpoint with objects of Lightning's",
    "lightning.": "a checkpoint with objects of Lightning's",
    "torch.nn.": _SAVED_WHOLE,
    "torch.fx.": _SAVED_WHOLE,
    "torchvision.": _SAVED_WHOLE,
    "timm.": _SAVED_WHOLE,
    "models.": _SAVED_WHOLE,
    "model.": _SAVED_WHOLE,
    "networks.": _SAVED_WHOLE,
    "training.": _SAVED_WHOLE,
    "__main__.": _SAVED_WHOLE,
}


def asks_for(dotted: str) -> str:
    """What a file is whose pickle names this; empty if the name says nothing."""
    return next((what for start, what in _BEGINNINGS.items() if dotted.startswith(start)), "")
