"""What is known to do well without training a network: distance to means, and linear models of logarithms."""

import torch
from eeg_tokens import Tokens, coordinates
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from geowarp.manifolds import AffineInvariantSPD
from geowarp.metrics import frechet_mean, nearest, recenter


def minimum_distance_to_mean(train: Tokens, test: Tokens) -> Tensor:
    """Return the class of the nearest Fréchet mean for each recording of one token, ``(N,)``.

    References:
        Barachant, Bonnet, Congedo, Jutten, Multiclass brain-computer interface classification by Riemannian
        geometry, IEEE Trans. Biomed. Eng. 59 (2012).
    """
    spd, classes = AffineInvariantSPD(), torch.unique(train.labels)
    x, y = train.points.squeeze(1), test.points.squeeze(1)
    means = torch.stack([frechet_mean(spd, x[train.labels == label]) for label in classes])
    found: Tensor = classes[nearest(spd, y, means).indices[:, 0]]
    return found


def tangent_space(train: Tokens, test: Tokens, strength: float = 0.01) -> Tensor:
    """Return the class of each recording by logistic regression on the logarithms of its tokens, ``(N,)``.

    At the mean of all tokens to train with; those of one recording are put side by side, and each feature is
    standardised.

    Args:
        train: with the true classes.
        test: of the same sizes.
        strength: C, the inverse of the penalty.

    References:
        Barachant, Bonnet, Congedo, Jutten, Classification of covariance matrices using a Riemannian-based
        kernel for BCI applications, Neurocomputing 112 (2013).
    """
    spd = AffineInvariantSPD()
    mean = frechet_mean(spd, train.points.flatten(0, 1))
    x, y = (
        coordinates(spd, recenter(spd, part.points.flatten(0, 1), mean=mean)).reshape(len(part.labels), -1)
        for part in (train, test)
    )
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=5000))
    model.fit(x.numpy(), train.labels.numpy())
    return torch.from_numpy(model.predict(y.numpy()))
