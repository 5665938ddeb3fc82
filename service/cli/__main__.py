"""Run the command line as `python -m service.cli`.

A process that starts another one names it by its interpreter, so that both run the same installation.
"""

from service.cli.main import main

main()
