"""Theorem 5 of LUCK (Tian et al. 2019): a student of one hidden layer under the matrix dynamics of Theorem 2.

`start` draws teachers and students, `dynamics` moves all of them at once, `study` makes the table, `tables`
is what is kept.
"""
