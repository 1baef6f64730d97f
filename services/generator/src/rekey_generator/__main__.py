"""``python -m rekey_generator --settings FILE``."""

from rekey_generator.app import compose
from rekey_generator.settings import GeneratorSettings
from rekey_runtime.service import main

main(GeneratorSettings, compose)
