"""Reports: one self-contained HTML page per experiment, the verdict first."""
