"""LUCK's theory (Tian et al. 2019) checked on small networks: Theorems 1 to 4, Assumption 3.

`networks` has teacher and student with the bias as a constant node; a module a theorem makes its table,
`tables` says what is kept, `checks` holds the tables against what the theory says. Theorem 5 has a study of
its own (`matrix_dynamics`).
"""
