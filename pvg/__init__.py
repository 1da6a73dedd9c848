__version__ = "0.1.0"
import warnings
warnings.filterwarnings('ignore', message='.*torch.jit.script.* is deprecated', category=FutureWarning) # fastai's import says so, nothing a user can mend
