"""The demo: train on real digits, sample with every sampler, measure the step, and prove that it worked."""
