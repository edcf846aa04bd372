"""Trials of the engines of a board, with real engines and real models, through a real gateway of its own process.

gateway   a gateway that can be asked, measured and killed
course    callers that ask for more models than fit: what fails, what it takes, how often a model is loaded
switches  what it costs to go from one model to another, and what models take: for the benchmark
kills     a gateway that is killed under load: what is left, and whether the next one serves
"""
