<?php

// What Laravel's own skeleton has, for version 8, which Debian packages without it; and what the
// example uses of Sanctum, which Debian does not package: the token's form, and how one is found.

namespace {
    require_once 'Illuminate/autoload.php';
    require_once 'GuzzleHttp/autoload.php';
    spl_autoload_register(function ($class) {
        if (str_starts_with($class, 'App\\')) {
            require dirname(__DIR__).'/app/'.strtr(substr($class, 4), '\\', '/').'.php';
        }
    });
}

namespace Laravel\Sanctum {
    use App\Models\User;
    use Illuminate\Database\Eloquent\Model;
    use Illuminate\Support\Str;

    class PersonalAccessToken extends Model
    {
        public $timestamps = false;

        protected $guarded = [];

        public function tokenable()
        {
            return $this->belongsTo(User::class, 'tokenable_id');
        }

        public static function findToken($token)
        {
            if (! str_contains($token, '|')) {
                return static::where('token', hash('sha256', $token))->first();
            }
            [$id, $token] = explode('|', $token, 2);
            $found = static::find($id);

            return $found && hash_equals($found->token, hash('sha256', $token)) ? $found : null;
        }
    }

    trait HasApiTokens
    {
        public function createToken($name)
        {
            $plain = Str::random(40);
            $row = PersonalAccessToken::create(
                ['name' => $name, 'tokenable_id' => $this->id, 'token' => hash('sha256', $plain)]
            );

            return (object) ['plainTextToken' => "{$row->id}|{$plain}"];
        }
    }
}

namespace {
    use Illuminate\Contracts\Console\Kernel as ConsoleContract;
    use Illuminate\Contracts\Debug\ExceptionHandler;
    use Illuminate\Contracts\Http\Kernel as HttpContract;
    use Illuminate\Foundation\Application;
    use Illuminate\Foundation\Support\Providers\RouteServiceProvider;
    use Illuminate\Support\Facades\Auth;
    use Illuminate\Support\Facades\Route;
    use Laravel\Sanctum\PersonalAccessToken;

    class EncryptCookies extends Illuminate\Cookie\Middleware\EncryptCookies
    {
        protected $except = ['notifications'];
    }

    class HttpKernel extends Illuminate\Foundation\Http\Kernel
    {
        protected $middlewareGroups = [
            'web' => [
                EncryptCookies::class,
                Illuminate\Cookie\Middleware\AddQueuedCookiesToResponse::class,
                Illuminate\Session\Middleware\StartSession::class,
                Illuminate\Foundation\Http\Middleware\VerifyCsrfToken::class,
            ],
        ];

        protected $routeMiddleware = ['auth' => Illuminate\Auth\Middleware\Authenticate::class];
    }

    class Provider extends RouteServiceProvider
    {
        public function boot()
        {
            Auth::viaRequest('sanctum', function ($request) {
                return PersonalAccessToken::findToken($request->bearerToken() ?? '')?->tokenable;
            });
            $this->routes(function () {
                Route::prefix('api')->group(base_path('routes/api.php'));
                Route::middleware('web')->group(base_path('routes/web.php'));
            });
        }
    }

    $app = new Application(dirname(__DIR__));
    $app->singleton(HttpContract::class, HttpKernel::class);
    $app->singleton(ConsoleContract::class, Illuminate\Foundation\Console\Kernel::class);
    $app->singleton(ExceptionHandler::class, Illuminate\Foundation\Exceptions\Handler::class);

    return $app;
}
