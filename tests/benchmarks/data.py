"""The benchmarks' data sets with their true columns, two rows each: the second has other values."""

from typing import Any

from PIL import Image

PICTURE = Image.new("RGB", (32, 32), "red")
STEPS = {"knowledge concept": "Area", "question number": 1, "knowledge concept description": "..."}
SEVEN = {f"image_{i}": None for i in range(2, 8)}
COLUMNS: dict[str, dict[str, Any]] = {
    "mathvista_mini": {
        "pid": "1",
        "question": "How long?",
        "image": "images/1.jpg",
        "decoded_image": PICTURE,
        "choices": None,
        "unit": "cm",
        "precision": 1.0,
        "answer": "1.2",
        "question_type": "free_form",
        "answer_type": "float",
        "metadata": {"category": "math-targeted-vqa", "skills": ["geometry reasoning"]},
        "query": "Hint: Please answer with one decimal place.\nQuestion: How long?",
    },
    "mathverse_vision_only": {
        "sample_index": "5",
        "problem_index": "1",
        "problem_version": "Vision Only",
        "question": "",
        "image": PICTURE,
        "answer": "A",
        "question_type": "multi-choice",
        "metadata": {"split": "testmini", "source": "GeoQA", "subject": "Plane Geometry"},
        "query_wo": "Please directly answer the question ...",
        "query_cot": "Please first conduct reasoning, and then answer.",
        "question_for_eval": "How large is angle 2?\nChoices:\nA: 60\nB: 30",
    },
    "mathvision": {
        "id": "1",
        "question": "Which is it?\n<image1>",
        "options": ["A", "B", "C", "D", "E"],
        "image": "images/1.jpg",
        "decoded_image": PICTURE,
        "answer": "D",
        "solution": None,
        "level": 2,
        "subject": "counting",
    },
    "mmmu": {
        "id": "validation_Art_1",
        "question": "Which is <image 1>?",
        "options": "['red', 'green']",
        "explanation": "",
        "image_1": PICTURE,
        **SEVEN,
        "img_type": "['Paintings']",
        "answer": "B",
        "topic_difficulty": "Easy",
        "question_type": "multiple-choice",
        "subfield": "Art",
    },
    "mmmu_pro": {
        "id": "test_Art_1",
        "question": "Which is <image 1>?",
        "options": "['red', 'green', 'blue', '<image 1>']",
        "explanation": "",
        "image_1": PICTURE,
        **SEVEN,
        "img_type": "['Paintings']",
        "answer": "B",
        "topic_difficulty": "Easy",
        "subject": "Art",
    },
    "logicvista": {"question": "Next?\nA, B, C, D", "image": PICTURE, "answer": "A, C"},
    "dynamath": {
        "id": "7",
        "question": "What is the area?",
        "image": "images/7.png",
        "decoded_image": PICTURE,
        "ground_truth": "6.25",
        "answer_type": "float",
        "subject": "plane geometry",
        "knowledge_level": "high school",
    },
    "wemath": {
        "ID": "3",
        "split": "testmini",
        **STEPS,
        "question": "How large?",
        "option": "A. 1; B. 2; C. 3; D. 4; E. No correct answer",
        "answer": "C",
        "image_path": PICTURE,
        "key": "2steps_1",
    },
    "visualpuzzles": {
        "id": 1,
        "category": "inductive",
        "image": PICTURE,
        "question": "Next?",
        "options": ["one", "two", "three", "four"],
        "answer": "D",
    },
    "vlmsareblind": {
        "task": "Counting Grid - Blank Grids",
        "image": PICTURE,
        "prompt": "Count the rows and columns.",
        "groundtruth": "5,6",
        "metadata": "{}",
    },
    "geometry3k": {
        "images": [PICTURE],
        "problem": "<image>Find x.",
        "answer": "2 \\sqrt { 221 }",
        "id": 0,
        "choices": ["1", "2", "3", "2 \\sqrt { 221 }"],
        "ground_truth": "D",
    },
    "aime24": {
        "id": 60,
        "problem": "Find m + n.",
        "solution": "...",
        "answer": "204",
        "url": "",
        "year": "2024",
    },
    "aime25": {"problem": "Find m + n.", "answer": "70", "id": "0"},
    "amc23": {"id": 0, "question": "How many?", "answer": "27.0", "url": ""},
    "math500": {
        "problem": "Convert.",
        "solution": "...",
        "answer": "\\left( 3, \\frac{\\pi}{2} \\right)",
        "subject": "Precalculus",
        "level": 2,
        "unique_id": "test/precalculus/807.json",
    },
    "gpqa_diamond": {
        "question": "Which lifetime?",
        "choices": ["1 ns", "2 ns", "3 ns", "4 ns"],
        "answer": "C",
        "answer_index": 2,
        "reasoning": "...",
    },
}
COLUMNS["mathverse_vision_dominant"] = COLUMNS["mathverse_vision_only"] | {
    "problem_version": "Vision Dominant"
}

OTHER: dict[str, dict[str, Any]] = {
    "mathvista_mini": {"choices": ["3 m", "4 m"], "answer": "4 m", "answer_type": "text"},
    "mathverse_vision_only": {"problem_version": "Text Lite"},
    "mathverse_vision_dominant": {"question_type": "free-form"},
    "mathvision": {"options": [], "answer": "12"},
    "mmmu": {"options": "[]", "answer": "12", "question_type": "open"},
    "mmmu_pro": {"image_2": PICTURE, "question": "Is <image 2> like <image 1>?"},
    "dynamath": {"answer_type": "multiple choice", "ground_truth": "B"},
    "wemath": {"key": "2steps_multi"},
    "visualpuzzles": {"options": None},
    "vlmsareblind": {"task": "Touching Circles", "groundtruth": "Yes"},
}
"""What the second row has instead."""

ANSWERS: dict[str, tuple[str, str]] = {
    "mathvista_mini": ("The answer is 1.24 cm", "\\boxed{1.3}"),
    "mathverse_vision_only": ("Answer: (A)", "Answer: B"),
    "mathverse_vision_dominant": ("A", "\\boxed{\\text{C}}"),
    "mathvision": ("\\boxed{D}", "\\boxed{A}"),
    "mmmu": ("<think> red </think> green", "\\boxed{A}"),
    "mmmu_pro": ("<reason> A? </reason> B. green", "red"),
    "logicvista": ("\\boxed{C, A}", "\\boxed{A}"),
    "dynamath": ("\\boxed{6.2501}", "\\boxed{6.26}"),
    "wemath": ("\\boxed{C}", "\\boxed{E}"),
    "visualpuzzles": ("\\boxed{D}", "two"),
    "vlmsareblind": ("\\boxed{5, 6}", "\\boxed{6,5}"),
    "geometry3k": ("<think> a </think> \\boxed{2\\sqrt{221}}", "2\\sqrt{221}"),
    "aime24": ("\\boxed{204}", "\\boxed{205}"),
    "aime25": ("so \\boxed{70}", "70 or 71"),
    "amc23": ("\\boxed{27}", "\\boxed{27.5}"),
    "math500": ("\\boxed{(3, \\pi/2)}", "\\boxed{(3, \\pi)}"),
    "gpqa_diamond": ("\\boxed{C}", "4 ns"),
}
"""Right and wrong, for the first row."""

SPLITS = {
    "mathvista_mini": "testmini",
    "mathverse_vision_only": "testmini",
    "mathverse_vision_dominant": "testmini",
    "mmmu": "validation",
    "dynamath": "sample_all",
    "wemath": "testmini",
    "visualpuzzles": "train",
    "vlmsareblind": "valid",
    "aime24": "train",
}
