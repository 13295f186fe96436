"""Who goes into validation: decided patient by patient, from the patient's id alone."""

from __future__ import annotations

import hashlib


def in_validation(patient_id: str, share: float, seed: int) -> bool:
    """Whether a training patient is held out for validation.

    A hash of the id decides, so all of a patient's films go together and nobody moves when others
    are added.

    Args:
        patient_id: with its series.
        share: expected share of the patients held out, 0 to 1.
        seed: another seed, another draw.
    """
    hashed = hashlib.sha256(f"{seed}/{patient_id}".encode()).digest()
    return int.from_bytes(hashed[:8], "big") / 2**64 < share
