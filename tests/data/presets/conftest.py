"""Small copies of the public data sets, with their true columns and types."""

from pathlib import Path

import pytest
from datasets import Dataset, Features, Image, List, Value

STRING, INT, FLOAT = Value("string"), Value("int64"), Value("float32")


def write(file: Path, features, rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows, features=Features(features)).to_parquet(file)


@pytest.fixture
def image(draw, encode):
    return {"bytes": encode(draw("red")), "path": "1.png"}


@pytest.fixture
def geometry3k(tmp_path, image):
    features = {
        "images": List(Image()),
        "problem": STRING,
        "answer": STRING,
        "id": INT,
        "choices": List(STRING),
        "ground_truth": STRING,
    }
    for split in ("train", "validation", "test"):
        rows = [
            {
                "images": [image],
                "problem": f"<image>Find x in {split}.",
                "answer": f"{i} \\sqrt {{ 2 }}",
                "id": i,
                "choices": ["1", "2", "3", "4"],
                "ground_truth": "C",
            }
            for i in range(3)
        ]
        write(tmp_path / "data" / f"{split}-00000-of-00001.parquet", features, rows)
    return tmp_path


@pytest.fixture
def vision_sr1_47k(tmp_path, image):
    features = {"images": Image(), "problem": STRING, "answer": STRING}
    rows = [{"images": image, "problem": f"What is {i}?", "answer": str(i)} for i in range(100)]
    write(tmp_path / "train-00000-of-00001.parquet", features, rows)
    return tmp_path


@pytest.fixture
def virl39k(tmp_path, draw):
    features = {
        "answer": STRING,
        "PassRate_32BTrained": FLOAT,
        "PassRate_7BBase": FLOAT,
        "category": STRING,
        "source": STRING,
        "question": STRING,
        "qid": STRING,
        "image": List(STRING),
    }
    rows = [
        {
            "answer": f"\\boxed{{ \\frac{{{i}}}{{2}} }}",
            "PassRate_32BTrained": 0.5,
            "PassRate_7BBase": None,
            "category": "Spatial Reasoning",
            "source": "MM-Math",
            "question": "<image>" * (i % 3) + f"What is half of {i}?",
            "qid": f"MM-{i}",
            "image": ["images/a.jpg"] * (i % 3),
        }
        for i in range(100)
    ]
    write(tmp_path / "39Krelease.parquet", features, rows)
    (tmp_path / "images").mkdir()
    draw("red").save(tmp_path / "images" / "a.jpg")
    return tmp_path / "39Krelease.parquet"


@pytest.fixture
def geoqa(tmp_path, image):
    features = {"image": Image(), "problem": STRING, "solution": STRING}
    rows = [
        {"image": image, "problem": f"Angle {i}?", "solution": f"<answer> {i}° </answer>"}
        for i in range(100)
    ]
    write(tmp_path / "data" / "train-00000-of-00001.parquet", features, rows)
    return tmp_path


@pytest.fixture
def mmk12(tmp_path, image):
    features = {
        "id": STRING,
        "question": STRING,
        "answer": STRING,
        "subject": STRING,
        "image": Image(),
    }
    for split, n, answer in (("train", 100, "12"), ("test", 4, "A")):
        rows = [
            {
                "id": f"{i}",
                "question": f"{split} {i}?",
                "answer": answer,
                "subject": "math",
                "image": image,
            }
            for i in range(n)
        ]
        write(tmp_path / f"{split}-00000-of-00001.parquet", features, rows)
    return tmp_path


@pytest.fixture
def openthoughts3(tmp_path):
    turn = {"from": STRING, "value": STRING}
    features = {"difficulty": INT, "source": STRING, "domain": STRING, "conversations": List(turn)}
    rows = [
        {
            "difficulty": None if domain == "code" else 7,
            "source": "ai2-adapt-dev/openmath-2-math",
            "domain": domain,
            "conversations": [
                {"from": "human", "value": f"{domain} {i}?"},
                {"from": "gpt", "value": f"<think>{again}</think> \\boxed{{{i}}}"},
            ],
        }
        for domain in ("code", "math")
        for i in range(1030)
        for again in range(2)
    ]
    write(tmp_path / "data" / "train-00000-of-00001.parquet", features, rows)
    return tmp_path


@pytest.fixture
def dapo_math_17k(tmp_path):
    features = {
        "data_source": STRING,
        "prompt": List({"content": STRING, "role": STRING}),
        "ability": STRING,
        "reward_model": {"ground_truth": STRING, "style": STRING},
        "extra_info": {"index": STRING},
    }
    before = (
        "Solve the following math problem step by step. The last line of your response should be "
        "of the form Answer: $Answer (without quotes) where $Answer is the answer to the problem."
        "\n\n"
    )
    after = '\n\nRemember to put your answer on its own line after "Answer:".'
    rows = [
        {
            "data_source": "math_dapo",
            "prompt": [{"content": f"{before}Let n = {i}.\n\nWhat is n?{after}", "role": "user"}],
            "ability": "MATH",
            "reward_model": {"ground_truth": str(i), "style": "rule-lighteval/MATH_v2"},
            "extra_info": {"index": "9a9b6eb4-a1cb-49d1-8c1e-62eaf2f74079"},
        }
        for _ in range(3)
        for i in range(100)
    ]
    write(tmp_path / "data" / "dapo-math-17k.parquet", features, rows)
    return tmp_path


@pytest.fixture
def local(tmp_path, image):
    features = {"images": List(Image()), "problem": STRING, "answer": STRING}
    rows = [{"images": [image], "problem": f"{i}?", "answer": f"{i}"} for i in range(100)]
    write(tmp_path / "mine.parquet", features, rows)
    return tmp_path
