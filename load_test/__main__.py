import sys

from load_test import command

if __name__ == "__main__":
    sys.exit(command.main(sys.argv[1:]))
