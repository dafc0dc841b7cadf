import gc

# Python's default, a collection every 700 new objects, takes a tenth of the start-up time and frees little: most
# objects created by imports are kept.
gc.set_threshold(20_000)
