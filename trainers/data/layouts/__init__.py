"""The folders of the data sets, one file per family; ``trainers.data.datasets`` names them all."""
