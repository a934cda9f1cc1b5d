"""Soft-IntroVAE of axial slices (Daniel & Tamar 2021). See card.toml."""

from dataclasses import dataclass

from uadbench.learning.introspective import Introspective


@dataclass
class SoftIntroVAE(Introspective):
    """Learns to code healthy slices and to deny its own; what it cannot restore is anomalous."""


ENTRY = SoftIntroVAE
