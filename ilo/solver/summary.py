"""What to believe of an automatic recovery, in plain words: `AutoResult.summary`."""

import math
from dataclasses import dataclass, fields

FAR = 0.01  # share of the image that may lie beyond what was judged without a warning
OUTSIDE, DOUBTFUL = 0.05, 0.25  # shares of the generator's own images that look as strange
ALARM = "one in twenty of its own is said to be so by mistake"


@dataclass(frozen=True)
class Summary:
    """What was chosen for one problem and why, and how far it is to be trusted; `str` of it is plain words.

    Errors are mean squares, in the units of the measurements, on those held out; NaN is what is not known.

    status: see `Result`.
    layer, radius, step: of the candidate that was chosen (radius NaN: no ball); mean_image: it is the generator's mean
        image; default: it is the default setting. scale: of the smooth deviation, in the generator's own variance.
    held_out: how many measurements. held_out_mse: the choice's error; default_mse: the default setting's;
        generator_mse: the choice's without the smooth deviation; mean_image_mse: the generator's mean image's;
        field_alone_mse: the mean image's with the smooth deviation, that is without a search.
    noise: standard deviation; noise_given: it was given, not estimated.
    latent_share, deeper_share, field_share: how much of what sets the image apart from the generator's mean image the
        search of the latent found, that of deeper layers added, and the smooth deviation; they add to 1.
    familiar: share of the generator's own images, measured alike, that look as strange (`ilo.auto.familiar`).
    unseen: share of the pixels on which no measurement depends. unjudged: share of those that lie farther from all
        measurements than anything that was held out. farthest: from a measurement, in pixels.
    """

    status: str
    layer: float
    radius: float
    step: float
    mean_image: bool
    default: bool
    scale: float
    held_out: float
    held_out_mse: float
    default_mse: float
    generator_mse: float
    mean_image_mse: float
    field_alone_mse: float
    noise: float
    noise_given: bool
    latent_share: float
    deeper_share: float
    field_share: float
    familiar: float
    unseen: float
    unjudged: float
    farthest: float

    @property
    def outside(self) -> bool:
        """Whether the photo looks as if the generator could not make it: at most 1 in 20 of its own look so strange."""
        return self.familiar <= OUTSIDE

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to be careful about, a sentence each."""
        told = {
            "diverged": "the search found no finite value: the image is worth nothing",
            "stopped": "the search was stopped before its end",
            "improving": "the search was still improving when its budget ended: Auto(budget=…) may raise it",
        }
        found = [told[self.status]] if self.status in told else []
        if math.isnan(self.held_out_mse):
            found.append("no measurement was held out: nothing judged the image, its spread or the setting")
        if self.unjudged >= FAR:
            found.append(
                f"{self.unjudged:.0%} of the image lies farther from every measurement (up to {self.farthest:.0f} "
                "pixels) than anything that was held out: what is there is a guess that nothing judged, and its spread "
                "is too small"
            )
        if self.outside:
            found.append("the photo seems to be outside the generator's range: its details may be another face's")
        return tuple(found)

    def __str__(self) -> str:
        lines = [self._choice(), *self._errors(), self._noise(), self._shares(), *self._range()]
        lines += [f"Careful: {warning}." for warning in self.warnings]
        return "\n".join(line for line in lines if line)

    def _choice(self) -> str:
        if math.isnan(self.layer):
            return "Chosen: the default setting, unjudged."
        ball = "no ball" if math.isnan(self.radius) else f"a ball of radius {self.radius:g}"
        what = (
            "the generator's mean image"
            if self.mean_image
            else f"layer {self.layer:.0f} in {ball}, iterate {self.step:.0f}".replace(" in no ball", ", no ball")
        )
        field = f"a smooth deviation of scale {self.scale:.2g}" if self.scale > 0 else "no smooth deviation"
        why = (
            "the default setting; none of the others was better by more than chance"
            if self.default
            else "it predicts what was held out better than the default, by more than chance"
        )
        return f"Chosen: {what}, with {field}: {why}."

    def _errors(self) -> list[str]:
        if math.isnan(self.held_out_mse):
            return []
        rms = {name: math.sqrt(max(getattr(self, f"{name}_mse"), 0.0)) for name in _COMPARED}
        others = ", ".join(f"{words} {rms[name]:.3f}" for name, words in _COMPARED.items() if words)
        return [f"Error on the {self.held_out:.0f} measurements held out: {rms['held_out']:.3f} ({others})."]

    def _noise(self) -> str:
        how = "as given" if self.noise_given else "estimated"
        return "" if math.isnan(self.noise) else f"Noise: {self.noise:.3f}, {how}."

    def _shares(self) -> str:
        if math.isnan(self.latent_share):
            return ""
        # a part that leads away from where the others lead has a share below 0
        latent, deeper, field = (
            f"{max(share, 0.0):.0%}" for share in (self.latent_share, self.deeper_share, self.field_share)
        )
        return (
            f"Of what sets the image apart from the generator's mean image, the generator's range gives "
            f"{latent}, its deeper layers {deeper}, the smooth deviation {field}."
        )

    def _range(self) -> list[str]:
        if math.isnan(self.familiar):
            return []
        share = f"{self.familiar:.0%}" if self.familiar >= 0.005 else "less than 1%"
        alike = f"{share} of the generator's own images, measured alike, look as strange"
        if self.outside:
            return [f"Range: {alike}: it does not seem to make such photos ({ALARM})."]
        if self.familiar <= DOUBTFUL:
            return [f"Range: {alike}: whether it makes such photos is not clear."]
        return [f"Range: {alike}: nothing says that it does not make such photos."]


_COMPARED = {
    "held_out": "",
    "default": "the default setting",
    "generator": "without the smooth deviation",
    "field_alone": "the smooth deviation alone",
    "mean_image": "the generator's mean image",
}
COLUMNS = tuple(f.name for f in fields(Summary) if f.name != "status")  # of `AutoResult.evidence`
