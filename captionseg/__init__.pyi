from captionseg.api.coco import to_coco as to_coco
from captionseg.api.model import Model as Model
from captionseg.api.model import load as load
from captionseg.api.model_folders import find_model as find_model
from captionseg.api.segmentation import Segmentation as Segmentation
from captionseg.records import UserError as UserError

__version__: str
