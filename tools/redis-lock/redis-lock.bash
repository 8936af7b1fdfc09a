# Completion of redis-lock(1) in bash: subcommands, their options, and behind NAME -- what the command there has.

_redis_lock() {
  local cur prev words cword
  # -n : keeps "redis://host" in one word.
  _init_completion -n : || return

  if ((cword == 1)); then
    COMPREPLY=($(compgen -W "run once list show reset --help --version" -- "$cur"))
    return
  fi

  local everywhere="--uri --uri-file --key-prefix --signal-prefix --help"
  local -A options=(
    [run]="-w --wait -n --no-wait --expire --at-least --slots --fencing --fence-prefix --pass-url -E --conflict-exit-code --grace $everywhere"
    [once]="--every -w --wait -n --no-wait --expire --fencing --fence-prefix --pass-url -E --conflict-exit-code --grace $everywhere"
    [list]="--json --waiters $everywhere"
    [show]="--shared --semaphore --json --waiters $everywhere"
    [reset]="--shared --semaphore --yes --all $everywhere"
  )

  local subcommand=${words[1]} has_name= i
  for ((i = 2; i < cword; i++)); do
    case ${words[i]} in
      --)
        [[ $subcommand != run && $subcommand != once ]] || _command_offset $((i + 1))
        return
        ;;
      --uri | --uri-file | --every | -w | --wait | --expire | --at-least | --slots | --grace | -E | --conflict-exit-code | --fence-prefix | --key-prefix | --signal-prefix) ((i++)) ;;
      -*) ;;
      *) has_name=yes ;;
    esac
  done

  case $prev in
    -w | --wait | --expire | --at-least | --grace)
      COMPREPLY=($(compgen -W "500ms 5s 30s 1m 5m 1h" -- "$cur"))
      return
      ;;
    --every)
      COMPREPLY=($(compgen -W "1h 20h 6d" -- "$cur"))
      return
      ;;
    --uri)
      COMPREPLY=($(compgen -W "redis:// rediss:// unix://" -- "$cur"))
      compopt -o nospace
      __ltrim_colon_completions "$cur"
      return
      ;;
    --uri-file)
      _filedir
      return
      ;;
    -E | --conflict-exit-code | --fence-prefix | --key-prefix | --signal-prefix) return ;;
  esac

  if [[ $has_name && ($subcommand == run || $subcommand == once) ]]; then
    COMPREPLY=($(compgen -W "-- ${options[$subcommand]}" -- "$cur"))
    [[ $cur ]] || COMPREPLY=(--)
  elif [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "${options[$subcommand]-}" -- "$cur"))
  fi
} && complete -F _redis_lock redis-lock
