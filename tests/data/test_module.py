import pytest

from gndpo.data.module import PromptData
from gndpo.errors import UserError


class Counting:
    endless = True

    def __init__(self, split, seed):
        self.split, self.seed = split, seed

    def __getitem__(self, index):
        return {"problem": f"{self.split} {self.seed} {index}"}


class Five(Counting):
    endless = False

    def __getitem__(self, index):
        if index >= 5:
            raise IndexError
        return super().__getitem__(index)


def data(rows=Counting, **changes):
    settings = {
        "prompts": 3,
        "steps": 4,
        "seed": 5,
        "evaluation_seed": 9,
        "max_prompt_tokens": 64,
        "overlong": "refuse",
        "ahead": 0,
    }
    return PromptData(rows, **(settings | changes))


def batches(data):
    return [call() for call in data.train_dataloader()]


def problems(batch):
    return [row["problem"] for row in batch]


def test_step_s_holds_rows_s_times_P_onwards():
    steps = batches(data())
    assert len(steps) == 4
    assert problems(steps[2]) == ["train 5 6", "train 5 7", "train 5 8"]


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_resumed_loader_continues_where_the_other_stopped(ahead):
    resumed = data(ahead=ahead)
    resumed.start_step = 2
    assert len(resumed.train_dataloader()) == 2
    assert batches(resumed) == batches(data())[2:]


@pytest.mark.parametrize("ahead", [1, 3, 9])
@pytest.mark.parametrize("streaming", [False, True])
def test_steps_that_are_prepared_ahead_are_the_same(rows, sums, streaming, ahead):
    def made(ahead):
        given = data(lambda split, seed: rows(split, sums, seed, streaming=streaming), ahead=ahead)
        given.prepare = problems
        return batches(given)

    assert made(ahead) == made(0)
    assert len({*made(0)[0], *made(0)[1], *made(0)[2]}) == 9


def test_evaluation_rows_do_not_depend_on_the_seed():
    assert problems(data(seed=1).evaluation_rows("test", 2)) == ["test 9 0", "test 9 1"]


@pytest.mark.parametrize(("n", "found"), [(2, 2), (5, 5), (9, 5), (None, 5), (0, 0)])
def test_evaluation_takes_all_rows_where_there_are_fewer(n, found):
    rows = data(Five).evaluation_rows("validation", n)
    assert problems(rows) == [f"validation 9 {i}" for i in range(found)]


def test_all_rows_of_an_endless_source_cannot_be_had():
    with pytest.raises(
        UserError, match=r"all rows of test were asked for \(null\), but there is no"
    ):
        data().evaluation_rows("test", None)


@pytest.mark.parametrize("changes", [{"prompts": 0}, {"overlong": "truncate"}])
def test_bad_settings(changes):
    with pytest.raises(UserError, match=r"data\."):
        data(**changes)
