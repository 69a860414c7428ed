"""The ledger: every claim of the three papers, in the order in which it is reported."""

from pipeline.claims.ledger_cg import COHERENT_GRADIENTS
from pipeline.claims.ledger_gsnr import GSNR
from pipeline.claims.ledger_luck import LUCK

LEDGER = {claim.id: claim for claim in (*COHERENT_GRADIENTS, *GSNR, *LUCK)}
