"""Teachers and over-parameterised students (Luck Matters, section 5), many students in one program.

`teachers` draws or loads teachers, `feeds` has what everybody sees, `training` trains groups of students,
`lucky` gives students another's start, `correlations` and `matching` compare nodes, `study` runs a set of
seeds, `tables` is what is kept.
"""
