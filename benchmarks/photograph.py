"""Makes the README's photograph: a small ViT learns parts of five photographs, and names one of them whole.

python -m benchmarks.photograph    # about a minute; the photographs are scikit-image's, in the public domain
"""

import pathlib
import shutil
import tempfile

import numpy as np

from benchmarks.measure import ROOT

PHOTOGRAPHS = {"cat": "chelsea.png", "cup of coffee": "coffee.png", "rocket": "rocket.jpg",
               "astronaut": "astronaut.png", "photographer": "camera.png"}
PARTS, SHARES = 60, (0.45, 0.8)  # of each; sides as shares of the photograph's shorter one


def main():
    from PIL import Image

    import mindvit

    try:
        import skimage.data
    except ModuleNotFoundError:
        raise SystemExit("the photographs are scikit-image's, which comes with: pip install '.[test]'") from None

    source, rng = pathlib.Path(skimage.data.__file__).parent, np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for name, file in PHOTOGRAPHS.items():
            image = Image.open(source / file).convert("RGB")
            parts = pathlib.Path(folder, "photos", name)
            parts.mkdir(parents=True)
            for i in range(PARTS):
                side = int(min(image.size) * rng.uniform(*SHARES))
                left, top = (int(rng.integers(0, whole - side + 1)) for whole in image.size)
                image.crop((left, top, left + side, top + side)).resize((128, 128)).save(parts / f"{i}.jpg")
        mindvit.train(mindvit.TrainJob(
            data=mindvit.DataConfig(f"{folder}/photos"), out=f"{folder}/run",
            model=mindvit.ModelConfig("vit_t_16", image_size=112, overrides={"num_layers": 4}),
            train=mindvit.TrainConfig(epochs=12, lr=1e-3, optimizer="adamw", batch_size=24, warmup_epochs=1)))
        [named] = mindvit.predict(mindvit.PredictJob(paths=str(source / PHOTOGRAPHS["cat"]), top_k=3,
                                                     checkpoint=f"{folder}/run/last.ckpt", out=f"{folder}/named"))
        shutil.copy(named["annotated"], ROOT / "docs/images/photograph.jpg")


if __name__ == "__main__":
    main()
