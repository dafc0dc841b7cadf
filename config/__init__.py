import gc

# Collecting at every 700 new objects, Python's default, is a tenth of each start: most objects of an import stay.
gc.set_threshold(20_000)
