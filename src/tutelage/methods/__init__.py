"""All methods, by the name they have in params.yaml. One file each; this table is the only registry."""

from tutelage.methods.ab import AB
from tutelage.methods.adamatch import AdaMatch
from tutelage.methods.afid import AFID
from tutelage.methods.am_da_kd import AMDAKD
from tutelage.methods.amtml_kd import AMTMLKD
from tutelage.methods.attention_transfer import AttentionTransfer
from tutelage.methods.av_acoustic import AVAcoustic
from tutelage.methods.ban import BAN
from tutelage.methods.bert_bilstm import BertBiLSTM
from tutelage.methods.byot import BYOT
from tutelage.methods.cckd import CCKD
from tutelage.methods.darkrank import DarkRank
from tutelage.methods.distilbert import DistilBERT
from tutelage.methods.dml import DML
from tutelage.methods.emotion_xmodal import EmotionXModal
from tutelage.methods.factor_transfer import FactorTransfer
from tutelage.methods.fda import FDA
from tutelage.methods.ffl import FFL
from tutelage.methods.fitnets import FitNets
from tutelage.methods.fixmatch import FixMatch
from tutelage.methods.fsp import FSP
from tutelage.methods.internal_repr import InternalRepr
from tutelage.methods.itrd import ITRD
from tutelage.methods.kd import KD
from tutelage.methods.kdcl import KDCL
from tutelage.methods.label_refinery import LabelRefinery
from tutelage.methods.lowres_dfd import LowResDFD
from tutelage.methods.mcl import MCL
from tutelage.methods.mean_teacher import MeanTeacher
from tutelage.methods.method import Method
from tutelage.methods.mic import MIC
from tutelage.methods.minilm import MiniLM
from tutelage.methods.mobileid import MobileID
from tutelage.methods.multi_teacher_avg import MultiTeacherAvg
from tutelage.methods.multi_teacher_triplet import MultiTeacherTriplet
from tutelage.methods.noisy_student import NoisyStudent
from tutelage.methods.okddip import OKDDip
from tutelage.methods.one import ONE
from tutelage.methods.oracle_kd_nas import OracleKDNAS
from tutelage.methods.oskd import OSKD
from tutelage.methods.pcl import PCL
from tutelage.methods.pkd import PKD
from tutelage.methods.quantized_distillation import QuantizedDistillation
from tutelage.methods.ranking_distillation import RankingDistillation
from tutelage.methods.rkd import RKD
from tutelage.methods.ruder_adapt import RuderAdapt
from tutelage.methods.self_kd_nlp import SelfKDNLP
from tutelage.methods.shrinkteanet import ShrinkTeaNet
from tutelage.methods.simclr import SimCLR
from tutelage.methods.softmatch import SoftMatch
from tutelage.methods.sp import SP
from tutelage.methods.sskd import SSKD
from tutelage.methods.supervised import Supervised
from tutelage.methods.teacher_weighted_face import TeacherWeightedFace
from tutelage.methods.tf_kd import TfKD
from tutelage.methods.tinybert import TinyBERT
from tutelage.methods.ts_da_parallel import TSDAParallel
from tutelage.methods.vargface_recursive import VarGFaceRecursive

__all__ = ["METHODS", "Method"]

METHODS: dict[str, type[Method]] = {
    "ab": AB,
    "adamatch": AdaMatch,
    "afid": AFID,
    "am_da_kd": AMDAKD,
    "amtml_kd": AMTMLKD,
    "attention_transfer": AttentionTransfer,
    "av_acoustic": AVAcoustic,
    "ban": BAN,
    "bert_bilstm": BertBiLSTM,
    "byot": BYOT,
    "cckd": CCKD,
    "darkrank": DarkRank,
    "distilbert": DistilBERT,
    "dml": DML,
    "emotion_xmodal": EmotionXModal,
    "factor_transfer": FactorTransfer,
    "fda": FDA,
    "ffl": FFL,
    "fitnets": FitNets,
    "fixmatch": FixMatch,
    "fsp": FSP,
    "internal_repr": InternalRepr,
    "itrd": ITRD,
    "kd": KD,
    "kdcl": KDCL,
    "label_refinery": LabelRefinery,
    "lowres_dfd": LowResDFD,
    "mcl": MCL,
    "mean_teacher": MeanTeacher,
    "mic": MIC,
    "minilm": MiniLM,
    "mobileid": MobileID,
    "multi_teacher_avg": MultiTeacherAvg,
    "multi_teacher_triplet": MultiTeacherTriplet,
    "noisy_student": NoisyStudent,
    "okddip": OKDDip,
    "one": ONE,
    "oracle_kd_nas": OracleKDNAS,
    "oskd": OSKD,
    "pcl": PCL,
    "pkd": PKD,
    "quantized_distillation": QuantizedDistillation,
    "ranking_distillation": RankingDistillation,
    "rkd": RKD,
    "ruder_adapt": RuderAdapt,
    "self_kd_nlp": SelfKDNLP,
    "shrinkteanet": ShrinkTeaNet,
    "simclr": SimCLR,
    "softmatch": SoftMatch,
    "sp": SP,
    "sskd": SSKD,
    "supervised": Supervised,
    "teacher_weighted_face": TeacherWeightedFace,
    "tf_kd": TfKD,
    "tinybert": TinyBERT,
    "ts_da_parallel": TSDAParallel,
    "vargface_recursive": VarGFaceRecursive,
}
