"""Questions to a BDH model: which neurons are active, which synapses, for what; as numbers and as plots."""

from .density import ActivationDensity, activation_density
from .plots import plot_activation_density, plot_factor_spectra
from .selectivity import SynapseSelectivity, selective_synapses, synapse_selectivity
from .spectra import FactorSpectrum, factor_spectra, singular_values
from .synapses import ActiveSynapses, most_active_synapses, synapse_activity
from .text_plot import plot_synapse_activity
from .writes import SynapseIndex

__all__ = [
    "ActivationDensity",
    "ActiveSynapses",
    "FactorSpectrum",
    "SynapseIndex",
    "SynapseSelectivity",
    "activation_density",
    "factor_spectra",
    "most_active_synapses",
    "plot_activation_density",
    "plot_factor_spectra",
    "plot_synapse_activity",
    "selective_synapses",
    "singular_values",
    "synapse_activity",
    "synapse_selectivity",
]
