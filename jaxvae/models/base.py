"""What a likelihood, a posterior, a prior and a network must offer to be parts of a VAE.

A class that has these methods and is decorated with `jaxvae.parts.part` is used like the built-in ones; nothing has to
be inherited. Log-probabilities are in nats, one for each example. `params` are the part's own parameters: what its
`init` returned, an empty dictionary if it has none.
"""

import math
from typing import Any, ClassVar, NamedTuple, Protocol

from jaxtyping import Array, Float, Key

GIVEN_TOTALS = "probability given totals"  # of counts, where the sum of an example's counts is taken as known

Params = Any  # nested dictionaries of float32 arrays
Shape = tuple[int, ...]


class Normal(NamedTuple):
    """Independent normal distributions, one for each latent dimension of each example."""

    mean: Float[Array, "b z"]
    log_std: Float[Array, "b z"]


class Support(NamedTuple):
    """The numbers that a likelihood gives a probability or a density to."""

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False  # whole numbers alone
    bytes: bool = False  # bytes (uint8) alone, seen as byte/255

    def __str__(self) -> str:
        if self.bytes:
            return "bytes (uint8)"
        numbers = "whole numbers" if self.whole else "numbers"
        if math.isinf(self.low):
            return f"real {numbers}"
        return f"{numbers} of at least {self.low:g}" + ("" if math.isinf(self.high) else f" and at most {self.high:g}")


class Likelihood(Protocol):
    """p(x|z), given what the decoder puts out for z. Everything that is not listed below is optional:

    init(key, shape) -> Params            its own parameters, for examples of this shape
    starts_from_data                      True: training begins at parameters that follow from the training examples
    starting_params(params, x) -> Params  these, for all training examples x [n, *shape]
    starting_output(params, x)            what a decoder that ignores the codes must put out for `mean` to be the
                                          mean of x; for decoders that begin there
    refits                                True: `refit` sets the own parameters, and not the optimiser
    refit(params, gradients, shape)       these after a step, of those before and the gradients of the mean loss
    encoder_input(x)                      what the encoder is given of examples; where it is absent, themselves
    link                                  how a number's mean comes of the first of the outputs for it, so that the page
                                          of a sweep can decode by itself: "sigmoid", "exp", "identity" or
                                          "continuous-bernoulli"; without it, a map is decoded beforehand
    """

    @property
    def measure(self) -> str:
        """What `log_prob` is the logarithm of: "probability", "density", "cross-entropy" or `GIVEN_TOTALS`. Numbers of
        two kinds share no table."""
        ...

    @property
    def support(self) -> Support:
        """Of each number in an example; where it is absent, any."""
        ...

    def outputs(self, shape: Shape) -> Shape:
        """What the decoder must put out for an example of this shape."""
        ...

    def log_prob(self, params: Params, out: Float[Array, "b ..."], x: Float[Array, "b ..."]) -> Float[Array, "b"]: ...

    def mean(self, params: Params, out: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
        """E[x|z], of an example's shape."""
        ...

    def sample(self, params: Params, key: Key[Array, ""], out: Float[Array, "b ..."]) -> Float[Array, "b ..."]: ...


class Posterior(Protocol):
    """q(z|x), given what the heads on the encoder put out for x.

    Outputs of zero must mean the standard normal: latent dimensions that a padded model does not use have them.
    Optional:

    kl_by_dimension(q, prior)             the divergence of each latent dimension, [b, z], where `kl` has a closed form
    """

    heads: ClassVar[Any]  # a named tuple: what the encoder has a head for, and how many latent axes it has, 1 or 2

    def sample_and_log_prob(self, q: Any, noise: Float[Array, "k b z"]) -> tuple[Array, Array]:
        """Codes [k, b, z] from draws of N(0, I), and log q(z|x) of each [k, b]; differentiable in both."""
        ...

    def log_prob(self, q: Any, z: Float[Array, "k b z"]) -> Float[Array, "k b"]: ...

    def kl(self, q: Any, prior: Any) -> Float[Array, "b"] | None:
        """KL(q(z|x) ‖ p(z)); None where there is no closed form for this prior, which is a part, or `Normal` where it
        is that given the condition."""
        ...

    def marginals(self, q: Any) -> Normal:
        """Mean and log standard deviation of each latent dimension by itself."""
        ...


class Prior(Protocol):
    """p(z); or p(z|c) with `takes_condition = True`, a class variable. Then `init` has the condition's size for one
    more argument, `log_prob` and `sample` have conditions [b, size], and there may be

    normal(params, condition) -> Normal   p(z|c), where it is independent normals: posteriors know more of these
    """

    def init(self, key: Key[Array, ""], latent_dim: int) -> Params:
        """Fresh parameters; an empty dictionary if there are none."""
        ...

    def log_prob(self, params: Params, z: Float[Array, "*s z"]) -> Float[Array, "*s"]: ...

    def sample(self, params: Params, key: Key[Array, ""], n: int, latent_dim: int) -> Float[Array, "n z"]: ...


class Condition(Protocol):
    """What encoder, decoder and perhaps the prior are told of each example beside it. Conditions are stored with the
    dataset, as arrays or a tree of arrays with a row for each example, and become numbers in the compiled program.

    One that examples may lack, as `Labels`, has `known(stored) -> bool [b]`, and zeros for numbers where it is not
    known. `network`, if it has one that is not None, reads the condition in an example: see `Labels`.
    """

    @property
    def size(self) -> int:
        """How many numbers the networks are given."""
        ...

    def to_float(self, stored: Any) -> Float[Array, "b size"]: ...

    def from_dataset(self, dataset: Any) -> tuple[Any, Any]:
        """As stored, of the train and the test split of a `jaxvae.data.Dataset`; raises DataError if it has none."""
        ...

    def from_user(self, given: Any, n: int) -> Any:
        """As stored, what a user gives for n examples, or what is stored already; raises InputError if it is none."""
        ...


class Network(Protocol):
    """Any Linen module; `jaxvae.models.network` makes one of two functions, and others one of an Equinox or NNX module.
    On a CPU, its `lax` convolutions are computed as the project's own (see `jaxvae.nn.substitution`).

    An encoder takes examples [b, *shape] to features [b, f]; a decoder takes features [b, f],
    which the VAE makes of codes, to [b, *outputs] as the likelihood asks for. In a model with a condition,
    the encoder's vectors are longer by its size, and its pictures have one more channel, [b, h, w, channels + 1].

    A decoder says in `features` how many it takes. Everything else is optional:

        mirrored() -> Network                   of an encoder: the decoder for which none has to be named
        dense(width, precision, name)           the layer between network and codes; default, `jaxvae.nn.Dense`
        batch_last                              True: features are [f, b] in both directions
        outputs, precision                      fields declared with `parts.bound`, which the VAE fills in
        codes_at_once                           how many codes are decoded together in an evaluation
        bfloat16_pays_from                      how many times as fast a product must be in bfloat16 to be chosen
        description(shape), layers(params)      words and arrays for the page of a sweep
        starts_from_data, with_output(params, out)  of a decoder that begins at the mean of the training examples: with
                                                    parameters by which it puts out about this, whatever the code
    """

    def __call__(self, x: Float[Array, "b ..."]) -> Float[Array, "b ..."]: ...
