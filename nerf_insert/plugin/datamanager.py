"""The photographs and cameras of a scene, as nerfstudio hands them out."""

from __future__ import annotations

from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager
from nerfstudio.data.datasets.base_dataset import InputDataset


class NerfInsertDataManager(VanillaDataManager[InputDataset]):
    """nerfstudio's own, with a number of rays per batch that the model may change as it trains."""

    def create_eval_dataset(self) -> InputDataset:
        """The photographs to evaluate on: those to test on where the capture lists none to validate on."""
        try:
            return super().create_eval_dataset()
        except RuntimeError:
            if self.test_split != "val":
                raise
            self.test_split = "test"
            return super().create_eval_dataset()

    def set_train_rays_per_batch(self, count: int) -> None:
        assert self.train_pixel_sampler is not None
        self.train_pixel_sampler.set_num_rays_per_batch(count)
