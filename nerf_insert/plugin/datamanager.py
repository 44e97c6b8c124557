"""The data manager of our nerfstudio methods."""

from __future__ import annotations

from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager
from nerfstudio.data.datasets.base_dataset import InputDataset


class NerfInsertDataManager(VanillaDataManager[InputDataset]):
    """nerfstudio's own data manager, with a number of rays per batch that the model may change."""

    def create_eval_dataset(self) -> InputDataset:
        """Return the validation photographs; the test photographs if the capture has no others."""
        try:
            return super().create_eval_dataset()
        except RuntimeError:
            if self.test_split != "val":
                raise
            self.test_split = "test"
            return super().create_eval_dataset()

    def set_train_rays_per_batch(self, count: int) -> None:
        """Change the number of rays per batch."""
        assert self.train_pixel_sampler is not None
        self.train_pixel_sampler.set_num_rays_per_batch(count)
