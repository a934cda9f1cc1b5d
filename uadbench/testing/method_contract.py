"""What every method promises, checked with the settings of its card's `[smoke]`, else of its preset ci.

Each check is a function of a `Trial`; it raises an AssertionError with the sentence to tell, or a `Weakness`.
A method is excused from a check by a line in its card: `[exempt]`, name of the check -> reason.
"""

import re
import tempfile
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from uadbench import methods
from uadbench.cards import PRESETS
from uadbench.data.space import EVALUATION, GRIDS
from uadbench.data.volumes import Volumes
from uadbench.methods import Method, Stochastic
from uadbench.system import ranges
from uadbench.system.errors import UserError
from uadbench.testing.findings import Finding, Weakness, demand, name_check, run_check
from uadbench.testing.toys import NOISE, cut_stack
from uadbench.testing.trial import SEED, Trial, refuse_network

DRAWS = 5  # of a score, where a claim is about what was learned and not about one noise field
TIMES_BETTER = 2.5  # than chance, and than its untrained self, a method should find hidden lesions
HIDDEN = 0.45  # grey of a hidden lesion, which is that of the toys' outer shell
BEYOND = ("-7", "nan", "inf", "1e999", "-1e999", "1" * 30, "1" * 5000, "many", "[1]", "true", "")
ATTRIBUTION = re.compile(r"'s (code|trainer|repository)\b")  # in what an option says of its default
SOURCE = re.compile(r"[\w.-]+/[\w./-]+, [^:]+: \S|(second hand: |not found in )\S")


# ---- what can be seen without fitting ----


def check_card_is_complete(trial: Trial) -> None:
    """Where the method comes from and how it differs."""
    for key in ("title", "summary", "paper", "link", "reference_licence", "input"):
        demand(getattr(trial.card, key).strip(), f"card.toml says nothing of `{key}`.")
    stated = trial.card.differences or trial.card.paper.lower().startswith("none")
    demand(stated, "card.toml names a paper and no `differences` from it.")


def check_exemptions_have_a_reason(trial: Trial) -> None:
    """`[exempt]` names checks."""
    for name, reason in trial.card.exempt.items():
        demand(name in map(name_check, CHECKS), f"[exempt] names {name}, and there is no such check.")
        demand(len(reason.split()) > 3, f"[exempt] gives no reason for {name}.")


def check_constructor_stores_its_arguments(trial: Trial) -> None:
    """Unchanged, and makes nothing else."""
    method = trial.make()
    more = sorted(set(vars(method)) - set(methods.options(method)))
    demand(not more, f"The constructor makes {', '.join(more)}; only `fit` and `load_state` may.")
    for key, value in trial.settings.items():
        demand(getattr(method, key) == value, f"The constructor changes the option {key}.")
    row = trial.kind(**trial.card.set)
    demand(row == trial.kind(**methods.parameters(row)), "Equal options make unequal methods.")


def check_options_are_documented(trial: Trial) -> None:
    """Each says what it is and whether it belongs to fit or score."""
    for key, option in methods.options(trial.kind).items():
        facts = option.metadata
        demand(facts.get("stage") in ("fit", "score"), f"{key} is no fit_option and no score_option.")
        demand(len(facts["doc"].split()) > 1, f"The option {key} is not explained.")
        choices = facts["choices"] or [option.default]
        demand(option.default in choices, f"The default of {key} is not among its choices.")


def check_attributed_values_have_a_source(trial: Trial) -> None:
    """A reader can open the file that a default is said to be taken from."""
    for key, option in methods.options(trial.kind).items():
        sourced = key in trial.card.source or not ATTRIBUTION.search(option.metadata["doc"])
        demand(sourced, f"The option {key} names someone's code: [source] has to say repository and file.")
    for key, place in trial.card.source.items():
        expected = "`github.com/owner/name, file.py: name`, `second hand: ...` or `not found in ...`"
        demand(SOURCE.match(place), f"[source] of {key} expects {expected}.")


def check_numbers_have_a_range(trial: Trial) -> None:
    """With two ends, and the default in it."""
    hints = methods.hints(trial.kind)
    for key, option in methods.options(trial.kind).items():
        kept = ranges.fits(option.default, hints[key]) == option.default
        demand(kept, f"The default of {key} is not {ranges.expected(hints[key])}.")
        if type(option.default) in (int, float) and not option.metadata["choices"]:
            both = len(ranges.bounds(hints[key]).keys() - {"multiple_of"}) == 2
            demand(both, f"The option {key} needs a lower and an upper end: see uadbench.system.ranges.")


def check_presets_can_be_built(trial: Trial) -> None:
    """On a known grid, of options that go together."""
    for preset in PRESETS:
        method = methods.build(trial.name, preset)
        known = method.grid in (*GRIDS, EVALUATION)
        demand(known, f"The preset {preset} has the grid {method.grid}, which does not exist.")
        method.check()


def check_values_beyond_a_range_are_refused(trial: Trial) -> None:
    """Before anything is prepared, in a sentence that names the option."""
    for key, option in methods.options(trial.kind).items():
        for text in BEYOND if type(option.default) in (int, float) else ():
            try:
                methods.build(trial.name, "ci", {key: text})
            except UserError as error:
                demand(key in str(error), f"The refusal of {key}={text[:9]} does not name the option.")
            else:
                raise AssertionError(f"--set {key}={text[:9]} is not refused.")


# ---- what needs a fit ----


def check_score_map_is_well_formed(trial: Trial) -> None:
    """Right after `fit`: float32, finite, 0 outside the brain, and not one value everywhere."""
    for volume in trial.patients:
        score_map = trial.score(trial.method, volume).score_map
        demand(not score_map[~volume.brain].any(), "Scores outside the brain have to be 0.")
        demand(score_map[volume.brain].std() > 0, "The score is the same in the whole brain.")


def check_volume_without_brain_scores_zero(trial: Trial) -> None:
    """Nothing to see, nothing found."""
    volume = trial.patients[0]
    empty = replace(volume, image=0 * volume.image, brain=volume.brain & False)
    demand(not trial.score(trial.method, empty).score_map.any(), "A volume without brain gets scores.")


def check_scoring_changes_nothing(trial: Trial) -> None:
    """The volume, the options and the state stay as they were."""
    volume, method = trial.patients[0], trial.method
    image, brain = volume.image.copy(), volume.brain.copy()
    state, options = deepcopy((method.state(), methods.parameters(method)))
    trial.score(method, volume)
    same = np.array_equal(volume.image, image) and np.array_equal(volume.brain, brain)
    demand(same, "`score` changes the volume that it is given.")
    demand(methods.parameters(method) == options, "`score` changes options.")
    np.testing.assert_equal(method.state(), state, "`score` changes what was learned.")


def check_volume_alone_scores_as_among_others(trial: Trial) -> None:
    """What is scored before plays no part."""
    among = [trial.score(trial.method, volume).score_map for volume in trial.patients]
    for index in (2, 0):
        alone = trial.score(trial.reload(), trial.patients[index]).score_map
        demand_equal(alone, among[index], "A volume gets another map alone than after others.")


def check_noise_belongs_to_the_volume(trial: Trial) -> None:
    """Who draws random numbers says so (`Stochastic`), and no two scans share them."""
    volume, method = trial.patients[0], trial.method
    trial.score(method, trial.patients[1])
    first = trial.score(method, volume).score_map
    demand_equal(trial.score(method, deepcopy(volume)).score_map, first, "The same scan gets another map.")
    other_seed = trial.score(method, volume, SEED + 1).score_map
    if not isinstance(method, Stochastic):
        return demand_equal(other_seed, first, "The map depends on the seed: derive from `Stochastic`.")
    share = (other_seed != first)[volume.brain].mean()
    demand(share > 0.5, "A `Stochastic` method's map does not depend on the seed.")
    touched = replace(volume, image=volume.image.copy())  # a voxel in a corner of one slice: another scan
    place = tuple(np.argwhere(volume.brain)[0])
    touched.image[0][place] = 1 - touched.image[0][place]
    far = volume.brain.copy()
    far[..., place[2]] = False
    share = (trial.score(method, touched).score_map != first)[far].mean()
    demand(share > 0.5, "Two scans share their noise: draw from numpy's or torch's global generator.")


def check_same_seed_gives_the_same_map(trial: Trial) -> None:
    """Fitted twice."""
    first, again = (trial.score(trial.fit_briefly(t), trial.patients[1]) for t in ("brief", "again"))
    demand_equal(again.score_map, first.score_map, "Fitted again with the same seed it gives another map.")


def check_state_gives_the_same_answer(trial: Trial) -> None:
    """Saved and loaded."""
    method, loaded = trial.method, trial.reload()
    before, after = (trial.score(one, trial.patients[0]) for one in (method, loaded))
    said = "Loaded from its state it gives another {}: is all that was learned in `state`?"
    demand_equal(after.score_map, before.score_map, said.format("map"))
    np.testing.assert_equal(after.pseudo_healthy, before.pseudo_healthy, said.format("pseudo-healthy volume"))
    demand(loaded.parameter_count() == method.parameter_count(), said.format("number of parameters"))


def demand_equal(map_: NDArray[np.float32], other: NDArray[np.float32], sentence: str) -> None:
    """Raise an AssertionError with the sentence where two maps differ in a single bit."""
    demand(np.array_equal(map_, other), f"{sentence} They differ by up to {np.abs(map_ - other).max():.3g}.")


def check_stacks_may_have_unequal_numbers_of_slices(trial: Trial) -> None:
    """Slices without geometry can be learned from, where the card does not say `template_space`."""
    if trial.card.template_space:
        return  # it refuses them
    scans = [cut_stack(toy, 9 + 2 * number) for number, toy in enumerate(trial.toys(range(5)))]
    train, val = Volumes(scans[:4], trial.grid), Volumes(scans[4:], trial.grid)
    trial.score(trial.fit_briefly("stacks", (train, val)), val[0])


def check_finds_hidden_lesions(trial: Trial) -> None:
    """Of the grey of healthy tissue elsewhere: only who knows what belongs where can find them.

    So short a training may fail by its seed alone, and another processor is another seed: where the first fit
    finds too little, two more have to find enough.
    """
    if not trial.card.trained:
        return  # this is about what is learned
    try:
        demand_hidden_lesions_found(trial, SEED)
    except Weakness:
        for seed in (SEED + 1, SEED + 2):
            demand_hidden_lesions_found(trial, seed)


def demand_hidden_lesions_found(trial: Trial, seed: int) -> None:
    """A Weakness where a fit of this seed is not `TIMES_BETTER` than chance and than its untrained self."""
    draws: dict[str, Any] = {"draws": DRAWS} if issubclass(trial.kind, Stochastic) else {}
    precision = find_hidden_lesions(trial, trial.fit("first", seed=seed, **draws))
    rivals = {"chance": float(np.mean([m.sum() for m in trial.lesions]) / trial.patients[0].brain.sum())}
    if "steps" in methods.options(trial.kind):
        untrained = trial.fit("untrained", seed=seed, steps=1, **draws)
        rivals["its untrained self"] = find_hidden_lesions(trial, untrained)
    for rival, level in rivals.items():
        if precision <= TIMES_BETTER * level:
            raise Weakness(
                f"Its average precision on hidden lesions, {precision:.3f}, is {precision / level:.1f} times "
                f"that of {rival}; {TIMES_BETTER} times would show that it learns."
            )


def find_hidden_lesions(trial: Trial, method: Method) -> float:
    """Mean average precision on the patients, their lesions as grey as the toys' outer shell."""
    found = []
    for volume, lesion in zip(trial.patients, trial.lesions, strict=True):
        image = volume.image.copy()
        image[0, lesion] = HIDDEN + np.random.default_rng(0).normal(0, NOISE, int(lesion.sum()))
        score_map = trial.score(method, replace(volume, image=image)).score_map
        found.append(average_precision_score(lesion[volume.brain], score_map[volume.brain]))
    return float(np.mean(found))


CHECKS = tuple(check for name, check in list(globals().items()) if name.startswith("check_"))


def check_method(name: str) -> Iterator[Finding]:
    """What each check finds of a method."""
    with tempfile.TemporaryDirectory() as folder, refuse_network():
        trial = Trial(name, Path(folder))
        for check in CHECKS:
            yield run_check(check, trial, trial.card.exempt)
