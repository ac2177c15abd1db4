"""The demo's training jobs: two real data sets, a few settings each, one model out."""
