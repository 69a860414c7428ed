"""Examples 1, 4, 5, 6, 7 and 8 of CG (Chatterjee & Zielinski 2022): small enough to be worked out by hand.

`models` has the data and the three networks, `descent` gradient descent on them, `study` the trajectories and
the heat map, `tables` what is kept of them. Nothing is drawn at random: the same numbers on every machine, to
rounding.
"""
