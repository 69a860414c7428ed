"""How the ways to a gradient statistic are compared: time, memory and error of each, on the same networks."""
