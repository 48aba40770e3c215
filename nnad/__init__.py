"""nnad: train small and middle-sized networks on a CPU, with an autodiff that can be read."""

from nnad import autodiff, ops
